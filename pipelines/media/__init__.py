"""Decoding images and preparing them for the teacher."""
