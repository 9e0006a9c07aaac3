"""The demo's origin: real photographs as the archives of COCO and DAVIS, served on loopback."""
