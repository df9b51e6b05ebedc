"""``python -m dagger`` is the command ``dagger``."""

from dagger.cli import main

if __name__ == "__main__":
    main()
