       IDENTIFICATION DIVISION.
       PROGRAM-ID. LIVE.
       DATA DIVISION.
       WORKING-STORAGE SECTION.
       01 ANSWER PIC X(80).
       PROCEDURE DIVISION.
           DISPLAY "one".
           ACCEPT ANSWER.
           DISPLAY "two".
           STOP RUN.
