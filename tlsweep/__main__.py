"""`python -m tlsweep`."""

from tlsweep.cli import main

if __name__ == "__main__":
    main()
