"""An OceanBase and a Slack for one machine: what `python -m bot demo` and the tests stand on."""
