"""Every reader against inputs that are odd, damaged or hostile: `make fuzz` (ARGS="--minutes 2")

seeds.py makes good inputs; accidents.py and objects.py make odd ones of them; cases.py has those made on purpose.
readers.py reads as the workbooks do and knows what is right. worker.py judges one input after the other in a
process of its own, run.py watches the workers and counts."""
