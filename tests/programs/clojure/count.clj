(println (count (line-seq (java.io.BufferedReader. *in*))))
