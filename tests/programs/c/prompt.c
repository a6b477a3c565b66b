#include <stdio.h>

int main(void) {
  int n = 0;
  printf("number? ");
  if (scanf("%d", &n) != 1) return 1;
  printf("%d\n", n * n);
  return 0;
}
