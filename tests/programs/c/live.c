#include <stdio.h>
#include <unistd.h>

int main(void) {
  char byte;
  printf("one\n");
  if (read(0, &byte, 1) != 1) return 1;
  printf("two\n");
  return 0;
}
