(load-file "tool.clj")
(println (twice 21))
