global _start

section .text
_start:
    mov [8], eax
