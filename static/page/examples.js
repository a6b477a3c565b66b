/** Example programs. The first of a language is what a new visitor sees. */

/** @typedef {{title: string, note?: string, code: string, input?: "typed" | "text" | "terminal", stdin?: string, args?: string, file?: string}} Example */

const raw = String.raw;

/** @type {Record<string, Example[]>} */
export const EXAMPLES = {
  python: [
    { title: "Lines as they come", note: "streaming", file: "main.py", code: raw`import time

steps = ["mix the flour", "knead the dough", "let it rise", "bake", "eat"]

for number, step in enumerate(steps, start=1):
    print(f"{number}. {step}")
    time.sleep(0.4)
` },
    { title: "Ask and answer", note: "typed input", code: raw`name = input("What is your name? ")
guess = None
tries = 0

while guess != 7:
    guess = int(input(f"{name}, guess a number from 1 to 10: "))
    tries += 1
    if guess != 7:
        print("too small" if guess < 7 else "too large")

print(f"Yes! {tries} tries.")
` },
    { title: "Colours and errors", note: "ANSI, stderr", code: raw`import sys
import time

for number, name in enumerate(["red", "green", "yellow", "blue", "magenta", "cyan"], start=31):
    print(f"\033[{number}m■ {name:8}\033[0m \033[1;{number}mbold\033[0m \033[7;{number}m inverse \033[0m")

for hue in range(0, 72):
    code = 16 + hue * 3
    print(f"\033[48;5;{code}m ", end="")
print("\033[0m")

# Streams travel apart; this lets the first arrive before the second is written.
sys.stdout.flush()
time.sleep(0.1)
print("this went to stderr", file=sys.stderr)
raise ValueError("and this is an exception")
` },
    { title: "Sum of numbers", note: "text as input", input: "text", stdin: "3\n14\n15\n92\n", code: raw`import sys

numbers = [int(line) for line in sys.stdin if line.strip()]
print(f"{len(numbers)} numbers, sum {sum(numbers)}, largest {max(numbers)}")
` },
    { title: "A hundred thousand lines", note: "flood", code: raw`for number in range(1, 100_001):
    print(number, "bottles of beer on the wall")
` },
  ],
  bash: [
    { title: "Lines as they come", note: "streaming", file: "main.sh", code: raw`for step in ready steady go; do
  echo "$step"
  sleep 0.5
done
` },
    { title: "In a terminal", note: "terminal", input: "terminal", code: raw`echo "This is a real terminal of $(stty size | tr ' ' x)."
trap 'echo; echo "Ctrl-C was caught; bye."; exit 0' INT

while read -r -p "$(printf '\e[1;36m')say something>$(printf '\e[0m') " words; do
  printf '\e[%smyou said: %s\e[0m\n' "$((31 + RANDOM % 6))" "$words"
done
` },
    { title: "Ask and answer", note: "typed input", code: raw`read -r -p "Your name? " name
echo "Hello, $name."
` },
  ],
  c: [
    { title: "Hello", file: "main.c", code: raw`#include <stdio.h>

int main(int argc, char **argv) {
    printf("Hello from C\n");
    for (int i = 1; i < argc; i++) printf("argument %d: %s\n", i, argv[i]);
    return 0;
}
` },
    { title: "Ask and answer", note: "typed input", code: raw`#include <stdio.h>

int main(void) {
    int a, b;
    printf("Two numbers: ");
    if (scanf("%d %d", &a, &b) != 2) return 1;
    printf("%d + %d = %d\n", a, b, a + b);
    return 0;
}
` },
    { title: "A crash", note: "signal", code: raw`#include <stdio.h>

int main(void) {
    int *nowhere = NULL;
    printf("about to write to nowhere\n");
    *nowhere = 42;
    return 0;
}
` },
  ],
  javascript: [
    { title: "Lines as they come", note: "streaming", file: "main.js", code: raw`const planets = ["Mercury", "Venus", "Earth", "Mars"];

planets.forEach((planet, index) => {
  setTimeout(() => console.log(planet), index * 400);
});
` },
    { title: "Ask and answer", note: "typed input", code: raw`const readline = require("node:readline");
const ask = readline.createInterface({ input: process.stdin, output: process.stdout });

ask.question("What is your name? ", (name) => {
  console.log("Hello, " + name + "!");
  ask.close();
});
` },
  ],
  typescript: [{ title: "Hello", file: "main.ts", code: raw`interface Planet {
  name: string;
  moons: number;
}

const planets: Planet[] = [
  { name: "Earth", moons: 1 },
  { name: "Mars", moons: 2 },
];

for (const { name, moons } of planets) console.log(name + " has " + moons + " moon(s)");
` }],
  go: [{ title: "Goroutines", file: "main.go", code: raw`package main

import (
	"fmt"
	"time"
)

func main() {
	lines := make(chan string)
	for i := 1; i <= 3; i++ {
		go func(n int) {
			time.Sleep(time.Duration(n) * 300 * time.Millisecond)
			lines <- fmt.Sprintf("worker %d is done", n)
		}(i)
	}
	for i := 0; i < 3; i++ {
		fmt.Println(<-lines)
	}
}
` }],
  java: [{ title: "Hello", file: "main.java", code: raw`import java.util.List;

class Main {
    public static void main(String[] args) {
        List.of("Ada", "Grace", "Barbara").forEach(name -> System.out.println("Hello, " + name));
    }
}
` }],
  rust: [{ title: "Hello", file: "main.rs", code: raw`fn main() {
    let squares: Vec<u32> = (1..=5).map(|n| n * n).collect();
    println!("Squares: {squares:?}");
}
` }],
  cpp: [{ title: "Hello", file: "main.cpp", code: raw`#include <iostream>
#include <string>
#include <vector>

int main() {
    std::vector<std::string> names{"Ada", "Grace", "Barbara"};
    for (const auto &name : names) std::cout << "Hello, " << name << std::endl;
}
` }],
  ruby: [{ title: "Lines as they come", note: "streaming", file: "main.rb", code: raw`3.downto(1) do |n|
  puts n
  sleep 0.5
end
puts "Lift-off"
` }],
  perl: [{ title: "Hello", file: "main.pl", code: raw`use strict;
use warnings;

my %count;
$count{lc $_}++ for split /\W+/, "the cat and the hat and the bat";
printf "%-5s %d\n", $_, $count{$_} for sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
` }],
  php: [{ title: "Hello", file: "main.php", code: raw`<?php
foreach (["Ada", "Grace", "Barbara"] as $name) {
    echo "Hello, $name\n";
}
` }],
  lua: [{ title: "Hello", file: "main.lua", code: raw`for n = 1, 5 do
  print(string.rep("*", n))
end
` }],
  coffeescript: [{ title: "Hello", file: "main.coffee", code: raw`square = (x) -> x * x
console.log "#{n} squared is #{square n}" for n in [1..5]
` }],
  assembly: [{ title: "Hello", file: "main.asm", code: raw`section .data
    text: db "Hello from assembly", 10
    size: equ $ - text

section .text
    global _start

_start:
    mov rax, 1          ; write
    mov rdi, 1          ; to stdout
    mov rsi, text
    mov rdx, size
    syscall
    mov rax, 60         ; exit
    xor rdi, rdi
    syscall
` }],
  ats: [{ title: "Hello", file: "main.dats", code: raw`implement main0 () = print "Hello from ATS\n"
` }],
  clisp: [{ title: "Hello", file: "main.lsp", code: raw`(loop for n from 1 to 5
      do (format t "~D squared is ~D~%" n (* n n)))
` }],
  clojure: [{ title: "Hello", file: "main.clj", code: raw`(doseq [n (range 1 6)]
  (println n "squared is" (* n n)))
` }],
  cobol: [{ title: "Hello", file: "main.cob", code: raw`       IDENTIFICATION DIVISION.
       PROGRAM-ID. hello.
       PROCEDURE DIVISION.
           DISPLAY "Hello from COBOL".
           STOP RUN.
` }],
  crystal: [{ title: "Hello", file: "main.cr", code: raw`%w(Ada Grace Barbara).each { |name| puts "Hello, #{name}" }
` }],
  csharp: [{ title: "Hello", file: "main.cs", code: raw`using System;

class Program {
    static void Main() {
        foreach (var name in new[] { "Ada", "Grace", "Barbara" }) Console.WriteLine("Hello, " + name);
    }
}
` }],
  d: [{ title: "Hello", file: "main.d", code: raw`import std.stdio;

void main() {
    foreach (n; 1 .. 6) writeln(n, " squared is ", n * n);
}
` }],
  dart: [{ title: "Hello", file: "main.dart", code: raw`void main() {
  for (final name in ['Ada', 'Grace', 'Barbara']) {
    print('Hello, $name');
  }
}
` }],
  elixir: [{ title: "Hello", file: "main.ex", code: raw`for n <- 1..5 do
  IO.puts("#{n} squared is #{n * n}")
end
` }],
  elm: [{ title: "Hello", file: "Main.elm", code: raw`module Main exposing (main)

import Html exposing (text)


main =
    text "Hello from Elm"
` }],
  erlang: [{ title: "Hello", file: "main.erl", code: raw`% escript will ignore the first line

main(_) ->
    [io:format("~p squared is ~p~n", [N, N * N]) || N <- lists:seq(1, 5)].
` }],
  fsharp: [{ title: "Hello", file: "main.fs", code: raw`for n in 1 .. 5 do
    printfn "%d squared is %d" n (n * n)
` }],
  groovy: [{ title: "Hello", file: "main.groovy", code: raw`(1..5).each { println it + " squared is " + it * it }
` }],
  guile: [{ title: "Hello", file: "main.scm", code: raw`(for-each
 (lambda (n) (display (* n n)) (newline))
 '(1 2 3 4 5))
` }],
  hare: [{ title: "Hello", file: "main.ha", code: raw`use fmt;

export fn main() void = {
	fmt::println("Hello from Hare")!;
};
` }],
  haskell: [{ title: "Hello", file: "main.hs", code: raw`main :: IO ()
main = mapM_ print (takeWhile (< 100) primes)
  where
    primes = sieve [2 ..]
    sieve (p : rest) = p : sieve [n | n <- rest, n ${"`mod`"} p /= 0]
` }],
  idris: [{ title: "Hello", file: "main.idr", code: raw`module Main

main : IO ()
main = putStrLn "Hello from Idris"
` }],
  julia: [{ title: "Hello", file: "main.jl", code: raw`for n in 1:5
    println("$n squared is $(n^2)")
end
` }],
  kotlin: [{ title: "Hello", file: "main.kt", code: raw`fun main() {
    listOf("Ada", "Grace", "Barbara").forEach { println("Hello, $it") }
}
` }],
  mercury: [{ title: "Hello", file: "main.m", code: raw`:- module main.
:- interface.
:- import_module io.

:- pred main(io::di, io::uo) is det.

:- implementation.

main(!IO) :-
    io.write_string("Hello from Mercury\n", !IO).
` }],
  nim: [{ title: "Hello", file: "main.nim", code: raw`for n in 1 .. 5:
  echo n, " squared is ", n * n
` }],
  nix: [{ title: "Hello", file: "main.nix", code: raw`let
  square = n: n * n;
in
  map square [ 1 2 3 4 5 ]
` }],
  ocaml: [{ title: "Hello", file: "main.ml", code: raw`let () =
  List.iter (fun n -> Printf.printf "%d squared is %d\n" n (n * n)) [1; 2; 3; 4; 5]
` }],
  pascal: [{ title: "Hello", file: "main.pas", code: raw`program Hello;

var
  n: Integer;

begin
  for n := 1 to 5 do
    WriteLn(n, ' squared is ', n * n);
end.
` }],
  raku: [{ title: "Hello", file: "main.raku", code: raw`say "$_ squared is {$_ ** 2}" for 1..5;
` }],
  sac: [{ title: "Hello", file: "main.sac", code: raw`use StdIO: all;
use Array: all;

int main() {
  print(iota(10));
  return 0;
}
` }],
  scala: [{ title: "Hello", file: "main.scala", code: raw`object Main extends App {
  for (n <- 1 to 5) println(n + " squared is " + n * n)
}
` }],
  swift: [{ title: "Hello", file: "main.swift", code: raw`for n in 1...5 {
    print("\(n) squared is \(n * n)")
}
` }],
  zig: [{ title: "Hello", file: "main.zig", code: raw`const std = @import("std");

pub fn main() void {
    std.debug.print("Hello from Zig\n", .{});
}
` }],
};
