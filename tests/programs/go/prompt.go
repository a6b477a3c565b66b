package main

import "fmt"

func main() {
	var number int
	fmt.Print("number? ")
	fmt.Scan(&number)
	fmt.Println(number * number)
}
