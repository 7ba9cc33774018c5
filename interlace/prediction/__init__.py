"""What next: predictions from a fit."""
