"""``python -m tunemv3d_train``, as torchrun starts it."""

from tunemv3d_train.cli import main

if __name__ == "__main__":
    main()
