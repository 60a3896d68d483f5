"""Services that did not come from here take the chassis, as docs/adopting.md says."""
