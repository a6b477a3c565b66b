(format t "~{~a~%~}" (rest sb-ext:*posix-argv*))
(format t "~a~%" (sb-ext:posix-getenv "GREETING"))
(sb-ext:exit :code 7)
