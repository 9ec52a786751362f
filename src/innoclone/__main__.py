"""``python -m innoclone`` is the command ``innoclone``."""

from innoclone.cli import main

if __name__ == "__main__":
    main()
