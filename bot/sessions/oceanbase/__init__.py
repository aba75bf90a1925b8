"""OceanBase and seekdb."""
