package main

import (
	"fmt"
	"time"
)

func main() {
	fmt.Println("one")
	time.Sleep(time.Second)
	fmt.Println("two")
}
