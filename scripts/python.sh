# Sourced by scripts that run Python.

# A virtual environment in the target directory with what a file names.
python_with() { # requirements directory
    if ! cmp -s "$1" "$2/installed.txt"; then
        python3 -m venv --clear "$2"
        "$2/bin/pip" install --quiet --disable-pip-version-check -r "$1"
        cp "$1" "$2/installed.txt"
    fi
}
