"""The documentation's batch scripts, as sbatch of each release reads them."""

from __future__ import annotations

import pytest
from unit.test_examples import SCRIPTS, options_of

from native import Native

#: What this host cannot give: the command line wins over the script.
SMALL = "--test-only -N1 -n1 -c1 --gpus=1 --gpus-per-node=1 --ntasks-per-node=1"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: options_of(script)["job-name"])
def test_sbatch_takes_the_script(native: Native, script: str) -> None:
    native.put({"/tmp/script.sh": script}, mode=0o755)
    done = native.run(f"sbatch {SMALL} /tmp/script.sh", user="user")
    assert done.status == 0, done.stderr
    assert "to start at" in done.stderr


def test_sbatch_refuses_a_word_that_it_does_not_know(native: Native) -> None:
    native.put({"/tmp/script.sh": SCRIPTS[0].replace("--numa-align", "--numa-align=fast")}, mode=0o755)
    done = native.run(f"sbatch {SMALL} /tmp/script.sh", user="user")
    assert done.status != 0 and "fast" in done.stderr
