(doseq [argument *command-line-args*] (println argument))
(println (System/getenv "GREETING"))
(System/exit 7)
