(print "number? ")
(let [number (Integer/parseInt (read-line))]
  (println (* number number)))
