. ./tool.sh
twice 21
