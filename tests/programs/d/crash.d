import core.volatile;

void main() { volatileStore(cast(uint*) 8, 1); }
