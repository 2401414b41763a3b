"""The methods that the library is measured against."""
