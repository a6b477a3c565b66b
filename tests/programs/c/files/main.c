#include <stdio.h>
#include "tool.h"

int main(void) { printf("%d\n", twice(21)); }
