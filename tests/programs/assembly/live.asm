global _start

section .data
one: db "one", 10
two: db "two", 10

section .bss
line: resb 1

section .text
_start:
    mov rsi, one
    call print
    xor eax, eax
    xor edi, edi
    mov rsi, line
    mov edx, 1
    syscall
    mov rsi, two
    call print
    mov eax, 60
    xor edi, edi
    syscall

print:
    mov eax, 1
    mov edi, 1
    mov edx, 4
    syscall
    ret
