"""What wsrunner costs, against what it is made of; ``python -m bench`` lists the benches."""
