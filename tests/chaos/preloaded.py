"""What every command needs, imported once: each command is then a fork, and starts at once."""

from __future__ import annotations

import pipelines.cli.main
import pipelines.jobs.cache
import pipelines.jobs.normalize
import pipelines.jobs.publish
import pipelines.store.s3
import pipelines.teachers.load
import pipelines.teachers.sam3
import pipelines.teachers.tiny

pipelines.cli.main.build_app()
