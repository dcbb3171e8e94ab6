"""`python -m daemon`, which is what the `curatord` command runs."""

from daemon.cli import main

if __name__ == "__main__":
    main()
