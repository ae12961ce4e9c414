"""``python -m cryocore``: the command line."""

from cryocore.commands.app import main

if __name__ == "__main__":
    main()
