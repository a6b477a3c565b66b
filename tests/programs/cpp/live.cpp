#include <iostream>
#include <unistd.h>

int main() {
  char byte;
  std::cout << "one\n";
  if (read(0, &byte, 1) != 1) return 1;
  std::cout << "two\n";
}
