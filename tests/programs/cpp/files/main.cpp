#include <iostream>
int twice(int n);

int main() { std::cout << twice(21) << "\n"; }
