"""How a script answers the bench: one line of JSON."""

import json

from process import memory


def answer(result: dict) -> None:
    print(json.dumps({"result": result, "peak_bytes": memory("VmHWM")}))
