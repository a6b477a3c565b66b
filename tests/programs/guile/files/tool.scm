(define (twice n) (* 2 n))
