int main() { *(volatile int *)nullptr = 1; }
