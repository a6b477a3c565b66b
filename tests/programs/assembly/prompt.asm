; number of one or two digits; its square has at most four
global _start

section .data
question: db "number? "
answer: db "    ", 10

section .bss
text: resb 16

section .text
_start:
    mov eax, 1
    mov edi, 1
    mov rsi, question
    mov edx, 8
    syscall
    xor eax, eax
    xor edi, edi
    mov rsi, text
    mov edx, 16
    syscall
    xor eax, eax
    mov rsi, text
digit:
    movzx ecx, byte [rsi]
    sub ecx, '0'
    cmp ecx, 9
    ja square
    imul eax, 10
    add eax, ecx
    inc rsi
    jmp digit
square:
    imul eax, eax
    mov rsi, answer + 4
    mov ebx, 10
next:
    xor edx, edx
    div ebx
    add dl, '0'
    dec rsi
    mov [rsi], dl
    test eax, eax
    jnz next
    mov edx, answer + 5
    sub edx, esi
    mov eax, 1
    mov edi, 1
    syscall
    mov eax, 60
    xor edi, edi
    syscall
