import { twice } from './tool';
console.log(twice(21));
