(defn twice [n] (* 2 n))
