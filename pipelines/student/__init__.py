"""Small image encoders, and the loop that trains them on the features of a teacher."""
