%{^
static void crash(void) { *(volatile int *)8 = 1; }
%}
extern fun crash (): void = "ext#"

implement main0 () = crash ()
