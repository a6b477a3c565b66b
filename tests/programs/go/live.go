package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Println("one")
	os.Stdin.Read(make([]byte, 1))
	fmt.Println("two")
}
