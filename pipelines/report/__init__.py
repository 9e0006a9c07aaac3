"""The page that shows what a manifest holds, as one HTML file."""
