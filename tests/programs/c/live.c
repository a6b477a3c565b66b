#include <stdio.h>
#include <unistd.h>

int main(void) {
  printf("one\n");
  sleep(1);
  printf("two\n");
  return 0;
}
