"""`python -m foveate` is the `foveate` command."""

from foveate.engine.cli import main

raise SystemExit(main())
