#include <iostream>

int main() {
    int number;
    std::cout << "number? ";
    std::cin >> number;
    std::cout << number * number << "\n";
}
