"""Cost of SDXL at its full size: counted without a device, and measured on one."""
