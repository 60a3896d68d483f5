"""What the chassis costs, beside a bare application and beside its peers."""
