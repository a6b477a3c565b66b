say lines.elems;
