(load "tool.lsp")
(format t "~a~%" (twice 21))
