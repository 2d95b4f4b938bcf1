"""What `import asof` takes: time, and memory beyond that of the interpreter."""

import sys
import time

from process import memory

OTHERS = ("numpy", "pandas", "polars", "pyarrow")

before = memory("VmRSS")
start = time.perf_counter()
import asof

seconds = time.perf_counter() - start
after = memory("VmRSS")
brought = [name for name in OTHERS if name in sys.modules]
if brought:
    sys.exit(f"import asof imports {', '.join(brought)}")

from answer import answer

answer({"seconds": seconds, "bytes": after - before, "version": asof.__version__})
