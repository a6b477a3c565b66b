import os
import sys

print(*sys.argv[1:], os.environ["GREETING"], sep="\n")
sys.exit(7)
